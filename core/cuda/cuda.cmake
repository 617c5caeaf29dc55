# The CUDA plug-in, twice: libcambium_cuda.so by nvcc, when there is one; libcambium_emu.so by g++ against
# core/cuda/emu, for the tests. Nothing of the program links against either: core/device.c opens them.
option(CAMBIUM_CUDA "Build the CUDA plug-in when nvcc is there" ON)
option(CAMBIUM_EMU "Build the CUDA kernels for the emulated device (tests)" ON)

file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/*.cu ${CMAKE_SOURCE_DIR}/autograd/ops/*.cu
  ${CMAKE_SOURCE_DIR}/optim/*.cu)
file(GLOB CUDA_HOST CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/*.c)
set(CUDA_SHARED_WITH_CPU ${CMAKE_SOURCE_DIR}/core/rng.c)
# where a * b + c must be two roundings, as on the CPU
file(GLOB CUDA_EXACT CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/weight.cu ${CMAKE_SOURCE_DIR}/optim/*.cu)

foreach(kind RELEASE DEBUG ASAN TSAN)
  set(CMAKE_CXX_FLAGS_${kind} "${CMAKE_C_FLAGS_${kind}}")
endforeach()

# ---- nvcc: not under the sanitizers, which do not go together with a GPU's driver -------------------------
include(CheckLanguage)
find_program(CAMBIUM_NVCC nvcc HINTS ENV CUDACXX PATHS ENV CUDA_HOME /usr/local/cuda PATH_SUFFIXES bin
  DOC "nvcc, for the CUDA plug-in")
if(CAMBIUM_CUDA AND CAMBIUM_NVCC AND CMAKE_BUILD_TYPE MATCHES "^(Release|Debug)$")
  if(NOT CMAKE_CUDA_COMPILER)
    unset(CMAKE_CUDA_COMPILER CACHE)
    set(ENV{CUDACXX} ${CAMBIUM_NVCC})
  endif()
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)   # 90: also PTX, for GPUs to come
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(STATUS "${CAMBIUM_NVCC} does not work (no g++ that it takes?): no libcambium_cuda.so is built")
  endif()
elseif(CAMBIUM_CUDA AND NOT CAMBIUM_NVCC)
  message(STATUS "nvcc is not there: the CPU part is built, without libcambium_cuda.so")
endif()
if(CAMBIUM_CUDA AND CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O2 -lineinfo")
  set(CMAKE_CUDA_FLAGS_DEBUG "-O0 -g -lineinfo")
  add_library(cambium_cuda MODULE ${CUDA_HOST} ${CUDA_SHARED_WITH_CPU} ${CUDA_KERNELS})
  set_target_properties(cambium_cuda PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
    C_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static
    BUILD_RPATH "${CUDAToolkit_LIBRARY_DIR}" INSTALL_RPATH "${CUDAToolkit_LIBRARY_DIR}")
  target_include_directories(cambium_cuda PRIVATE ${CMAKE_SOURCE_DIR})
  target_compile_definitions(cambium_cuda PRIVATE _GNU_SOURCE)
  target_compile_options(cambium_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda $<$<BOOL:${CAMBIUM_WERROR}>:-Werror=all-warnings>>
    $<$<COMPILE_LANGUAGE:C>:-Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off
      $<$<BOOL:${CAMBIUM_WERROR}>:-Werror>>)
  set_property(SOURCE ${CUDA_EXACT} APPEND PROPERTY COMPILE_OPTIONS -fmad=false)
  target_link_libraries(cambium_cuda PRIVATE CUDA::cublasLt m)
  target_link_options(cambium_cuda PRIVATE LINKER:--no-undefined LINKER:--exclude-libs,ALL)
  install(TARGETS cambium_cuda LIBRARY DESTINATION lib/cambium)   # where core/device.c looks
endif()

# ---- g++ against the emulator: where there are tests --------------------------------------------------------
if(CAMBIUM_EMU AND CHECK_LIBRARY)
  if(NOT CMAKE_CXX_COMPILER)
    unset(CMAKE_CXX_COMPILER CACHE)           # it may have been installed since
  endif()
  check_language(CXX)
endif()
if(CAMBIUM_EMU AND CHECK_LIBRARY AND CMAKE_CXX_COMPILER)
  enable_language(CXX)
  add_library(emu_options INTERFACE)
  target_include_directories(emu_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/core/cuda/emu/include)
  target_compile_definitions(emu_options INTERFACE _GNU_SOURCE)
  target_compile_options(emu_options INTERFACE -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off -fno-math-errno
    $<$<COMPILE_LANGUAGE:CXX>:-fno-strict-aliasing> $<$<BOOL:${CAMBIUM_WERROR}>:-Werror>
    $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Asan>>:-fsanitize-sections=emu_shared>)

  # a .cu file is C++ for g++: it is included by a .cc file, which CMake knows how to compile
  foreach(file ${CUDA_KERNELS})
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${file})
    string(REPLACE "/" "_" name ${name})
    set(wrapper ${CMAKE_BINARY_DIR}/gen/emu/${name}.cc)
    file(GENERATE OUTPUT ${wrapper} CONTENT "#include \"${file}\"\n")
    if(name MATCHES "^core_cuda_")
      list(APPEND emu_device ${wrapper})
    else()
      list(APPEND emu_operations ${wrapper})
    endif()
  endforeach()
  # the emulator and all of core/cuda: tests of the emulator take it without the operations
  file(GLOB EMU_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/emu/*.cc)
  add_library(emu_device OBJECT ${CUDA_HOST} ${EMU_SOURCES} ${emu_device})
  target_link_libraries(emu_device PUBLIC emu_options)
  add_library(cambium_emu MODULE ${CUDA_SHARED_WITH_CPU} ${emu_operations} $<TARGET_OBJECTS:emu_device>)
  target_link_libraries(cambium_emu PRIVATE emu_options m)
  target_link_options(cambium_emu PRIVATE $<$<NOT:$<OR:$<CONFIG:Asan>,$<CONFIG:Tsan>>>:-Wl,--no-undefined>)
  set_target_properties(emu_device cambium_emu PROPERTIES POSITION_INDEPENDENT_CODE ON
    CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS ON C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden)
endif()

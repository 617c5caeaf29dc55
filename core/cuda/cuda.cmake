# The CUDA plug-in, twice: libcambium_cuda.so by nvcc, when there is one; libcambium_emu.so by g++ against
# core/cuda/emu, for the tests, always. Nothing of the program links against either.
option(CAMBIUM_CUDA "Build the CUDA plug-in when nvcc is there" ON)
option(CAMBIUM_EMU "Build the CUDA kernels for the emulated device (tests)" ON)

file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/*.cu ${CMAKE_SOURCE_DIR}/autograd/ops/*.cu
  ${CMAKE_SOURCE_DIR}/optim/*.cu)
file(GLOB CUDA_HOST CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/*.c)
list(APPEND CUDA_HOST ${CMAKE_SOURCE_DIR}/core/rng.c)
# where a * b + c must be two roundings, as on the CPU
file(GLOB CUDA_EXACT CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/weight.cu ${CMAKE_SOURCE_DIR}/optim/*.cu)

include(CheckLanguage)
if(CAMBIUM_EMU)
  check_language(CXX)
endif()
if(CAMBIUM_EMU AND CMAKE_CXX_COMPILER)
  enable_language(CXX)
  file(GLOB EMU_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/core/cuda/emu/*.cc)
  # -include: a .cu file is C++ for g++; compiled through CMake's own C++ rules
  set(emu_kernels "")
  foreach(file ${CUDA_KERNELS})
    file(RELATIVE_PATH name ${CMAKE_SOURCE_DIR} ${file})
    string(REPLACE "/" "_" name ${name})
    set(wrapper ${CMAKE_BINARY_DIR}/gen/emu/${name}.cc)
    file(GENERATE OUTPUT ${wrapper} CONTENT "#include \"${file}\"\n")
    list(APPEND emu_kernels ${wrapper})
  endforeach()
  add_library(cambium_emu MODULE ${CUDA_HOST} ${EMU_SOURCES} ${emu_kernels})
  set_target_properties(cambium_emu PROPERTIES CXX_STANDARD 17 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden)
  target_include_directories(cambium_emu PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/core/cuda/emu/include)
  target_compile_definitions(cambium_emu PRIVATE _GNU_SOURCE)
  target_compile_options(cambium_emu PRIVATE -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off -fno-math-errno
    $<$<COMPILE_LANGUAGE:CXX>:-fno-strict-aliasing> $<$<BOOL:${CAMBIUM_WERROR}>:-Werror>)
  target_link_options(cambium_emu PRIVATE $<$<NOT:$<OR:$<CONFIG:Asan>,$<CONFIG:Tsan>>>:-Wl,--no-undefined>)
  target_link_libraries(cambium_emu PRIVATE m)
  foreach(kind ASAN TSAN)
    set(CMAKE_CXX_FLAGS_${kind} "${CMAKE_C_FLAGS_${kind}}")
  endforeach()
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g")
  set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")
endif()
